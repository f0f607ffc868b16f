/* A lock-free ring buffer for one producer and one consumer.
 *
 * The capacity is a power of two, so that the index wraps with a mask. head is written by the
 * producer alone, tail by the consumer alone; each reads the other's with acquire semantics.
 * One slot is left unused, which tells a full buffer from an empty one.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define CACHE_LINE 64

struct ringbuf {
    _Alignas(CACHE_LINE) atomic_size_t head;
    _Alignas(CACHE_LINE) atomic_size_t tail;
    size_t mask;
    void **slots;
};

/* Returns NULL with errno EINVAL unless capacity is a power of two of at least 4. */
struct ringbuf *ringbuf_new(size_t capacity);

bool ringbuf_push(struct ringbuf *rb, void *item)
{
    size_t head = atomic_load_explicit(&rb->head, memory_order_relaxed);
    size_t next = (head + 1) & rb->mask;
    if (next == atomic_load_explicit(&rb->tail, memory_order_acquire))
        return false;                       /* full: the caller drops or waits */
    rb->slots[head] = item;
    atomic_store_explicit(&rb->head, next, memory_order_release);
    return true;
}

void *ringbuf_pop(struct ringbuf *rb)
{
    size_t tail = atomic_load_explicit(&rb->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&rb->head, memory_order_acquire))
        return NULL;                        /* empty */
    void *item = rb->slots[tail];
    atomic_store_explicit(&rb->tail, (tail + 1) & rb->mask, memory_order_release);
    return item;
}
