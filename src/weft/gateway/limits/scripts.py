"""The ledger's decisions as scripts that Redis runs, each one atomic step. They count as :mod:`weft.gateway.limits.ledger` does.

Keys, all with one hash tag, so that a cluster has them on one node and a script may touch them together:

- ``leases``: every gateway process and when it is taken for dead, unless it is heard of before;
- ``h:PROCESS``: what it was granted and has not settled, as the periods that were charged, and what waits, as ``q|`` and
  the bucket; ``c:PROCESS``: how many places it has in each bucket, and how many wait. Both go with the lease: places are
  free then, and what was charged stays charged;
- ``b:BUCKET``: a sliding window as segment to amount; a day or month as its number ``p`` and what was used ``u``.

The time is Redis's own, but where a test sets it.
"""

from __future__ import annotations

from typing import Final

_HEAD: Final = """
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local me = ARGV[2]
local text = function(number) return string.format('%.0f', number) end

local function alive()
  local ends = redis.call('ZSCORE', KEYS[1], me)
  if ends and tonumber(ends) > now then return tonumber(ends) end
  redis.call('ZREM', KEYS[1], me)
  redis.call('DEL', KEYS[2], KEYS[3])
  return nil
end
"""

_PERIODS: Final = """
local DAY_MS = 86400000

-- Days since 1970 of the first of a month, and back (proleptic Gregorian calendar).
local function days_of(year, month)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local shifted = month > 2 and month - 3 or month + 9
  local of_year = math.floor((153 * shifted + 2) / 5)
  local day = of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year
  return era * 146097 + day - 719468
end

local function month_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400
  if month <= 2 then year = year + 1 end
  return year, month
end

local function period_of(span)
  local day = math.floor(now / DAY_MS)
  if span == -1 then return day, (day + 1) * DAY_MS end
  local year, month = month_of(day)
  local number = year * 12 + month
  if month == 12 then year, month = year + 1, 1 else month = month + 1 end
  return number, days_of(year, month) * DAY_MS
end
"""

_COUNTING: Final = """
local segments = tonumber(ARGV[5])

local function charge_slide(key, size, segment, amount)
  redis.call('HINCRBY', key, text(segment), text(amount))
  redis.call('PEXPIRE', key, text(size * (segments + 2)))
end

local function charge_period(key, period, ends, amount)
  if redis.call('HGET', key, 'p') == text(period) then
    redis.call('HINCRBY', key, 'u', text(amount))
  else
    redis.call('HSET', key, 'p', text(period), 'u', text(amount))
  end
  redis.call('PEXPIREAT', key, text(ends + DAY_MS))
end

local function count(field, amount)
  if redis.call('HINCRBY', KEYS[3], field, text(amount)) <= 0 then
    redis.call('HDEL', KEYS[3], field)
  end
end
"""

TAKE: Final = (
    _HEAD
    + _PERIODS
    + _COUNTING
    + """
-- KEYS: leases, holds, counts, buckets. ARGV: now, me, hold, lease, segments, ticket, prefix of counts, then of each
-- bucket: most, amount, span, queue. Returns outcome, by, retry, then of each: left, reset.
local ends = alive()
if not ends then return {-1} end
local lease, ticket, waits_at = tonumber(ARGV[4]), 0, nil
if ARGV[6] ~= '' then
  waits_at = redis.call('HGET', KEYS[2], ARGV[6])
  for i = 4, #KEYS do
    if waits_at == 'q|' .. KEYS[i] then ticket = i - 3 end
  end
end
if ends - now < lease * 0.75 then
  ends = now + lease
  redis.call('ZADD', KEYS[1], text(ends), me)
  redis.call('PEXPIRE', KEYS[2], text(lease * 1.1))
  redis.call('PEXPIRE', KEYS[3], text(lease * 1.1))
end

local others = nil
local function counted(key)
  if not others then
    others = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf')
  end
  local used, waiting = 0, 0
  for _, id in ipairs(others) do
    local found = redis.call('HMGET', ARGV[7] .. id, 'a|' .. key, 'q|' .. key)
    used = used + (tonumber(found[1]) or 0)
    waiting = waiting + (tonumber(found[2]) or 0)
  end
  return used, waiting
end

local found, by, retry, full = {}, -1, 0, -1
for i = 1, #KEYS - 3 do
  local at = 8 + (i - 1) * 4
  local key, most, amount, span, queue =
    KEYS[i + 3], tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local part = {key = key, most = most, amount = amount, span = span, queue = queue, period = 0, used = 0, reset = 0}
  if span == 0 then
    part.used, part.waiting = counted(key)
    if by < 0 and full < 0 and (part.used + amount > most or (part.waiting > 0 and ticket ~= i)) then full = i end
  else
    local wait = 0
    if span > 0 then
      local size = math.max(1, math.floor(span / segments))
      local current = math.floor(now / size)
      local marks, last, used = {}, nil, 0
      local all = redis.call('HGETALL', key)
      for n = 1, #all, 2 do
        local segment, charged = tonumber(all[n]), tonumber(all[n + 1])
        if segment < current - segments then
          redis.call('HDEL', key, all[n])
        else
          used = used + charged
          marks[#marks + 1] = {segment, charged}
          if charged > 0 and (not last or segment > last) then last = segment end
        end
      end
      part.size, part.period, part.used, part.last = size, current, used, last
      local excess = used + amount - most
      if excess > 0 then
        wait = -1
        if amount <= most then
          table.sort(marks, function(a, b) return a[1] < b[1] end)
          for _, mark in ipairs(marks) do
            excess = excess - mark[2]
            if excess <= 0 then
              wait = (mark[1] + segments + 1) * size - now
              break
            end
          end
        end
      end
      part.over = used + amount > most
    else
      local period, over_at = period_of(span)
      local stored = redis.call('HMGET', key, 'p', 'u')
      part.period, part.ends, part.reset = period, over_at, over_at - now
      if stored[1] == text(period) then part.used = tonumber(stored[2]) or 0 end
      part.over = part.used + amount > most
      wait = amount > most and -1 or over_at - now
    end
    if part.over and (by < 0 or wait == -1 or (retry ~= -1 and wait > retry)) then by, retry = i, wait end
  end
  found[i] = part
end

local outcome = 0
if by > 0 then
  outcome = 2
elseif full > 0 then
  by = full
  if ticket == full or found[full].waiting < found[full].queue then outcome = 1 else outcome, retry = 2, 1000 end
end
if waits_at and not (outcome == 1 and by == ticket) then
  redis.call('HDEL', KEYS[2], ARGV[6])
  count(waits_at, -1)
end
local hold = nil
if outcome == 1 and by ~= ticket then
  hold = 'q|' .. found[by].key
  count(hold, 1)
end
if outcome == 0 then
  local periods = {}
  for _, part in ipairs(found) do
    if part.span == 0 then
      count('a|' .. part.key, part.amount)
    elseif part.span > 0 then
      if part.amount > 0 then
        charge_slide(part.key, part.size, part.period, part.amount)
        part.last = part.period
      end
    elseif part.amount > 0 then
      charge_period(part.key, part.period, part.ends, part.amount)
    end
    part.used = part.used + part.amount
    periods[#periods + 1] = text(part.period)
  end
  hold = table.concat(periods, ',')
end
if hold then
  redis.call('HSET', KEYS[2], ARGV[3], hold)
  -- They outlive the lease a little, and are gone with it all the same: whoever finds it over deletes them.
  redis.call('PEXPIRE', KEYS[2], text(ends - now + lease / 10))
  redis.call('PEXPIRE', KEYS[3], text(ends - now + lease / 10))
end
local reply = {outcome, by > 0 and by - 1 or -1, retry}
for _, part in ipairs(found) do
  if part.span > 0 and part.used > 0 then part.reset = (part.last + segments + 1) * part.size - now end
  reply[#reply + 1] = math.max(0, part.most - part.used)
  reply[#reply + 1] = part.reset
end
return reply
"""
)

SETTLE: Final = (
    _HEAD
    + _PERIODS
    + _COUNTING
    + """
-- KEYS: leases, holds, counts, buckets. ARGV: now, me, hold, -, segments, then of each bucket: span, amount, used (-1: all
-- of it). Once only: what has no hold any more stays as it is. What waits leaves its queue.
local ends = alive()
if not ends then return -1 end
local hold = redis.call('HGET', KEYS[2], ARGV[3])
if not hold then return 0 end
redis.call('HDEL', KEYS[2], ARGV[3])
if string.sub(hold, 1, 2) == 'q|' then
  count(hold, -1)
  return 1
end
local periods = {}
for period in string.gmatch(hold, '[^,]+') do periods[#periods + 1] = tonumber(period) end
for i = 1, #KEYS - 3 do
  local at = 6 + (i - 1) * 3
  local key, span, period, amount, used =
    KEYS[i + 3], tonumber(ARGV[at]), periods[i], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if span == 0 then
    count('a|' .. key, -amount)
  elseif used >= 0 and used ~= amount then
    if span > 0 then
      local size = math.max(1, math.floor(span / segments))
      if used > amount then
        charge_slide(key, size, math.floor(now / size), used - amount)
      elseif redis.call('HEXISTS', key, text(period)) == 1 then
        redis.call('HINCRBY', key, text(period), text(used - amount))
      end
    else
      local current, over_at = period_of(span)
      if used > amount then
        charge_period(key, current, over_at, used - amount)
      elseif redis.call('HGET', key, 'p') == text(period) then
        redis.call('HINCRBY', key, 'u', text(used - amount))
      end
    end
  end
end
return 1
"""
)

BEAT: Final = (
    _HEAD
    + """
-- KEYS: leases, holds, counts. ARGV: now, me, is new, lease.
if ARGV[3] ~= '1' and not alive() then return -1 end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[4])), me)
redis.call('PEXPIRE', KEYS[2], text(tonumber(ARGV[4]) * 1.1))
redis.call('PEXPIRE', KEYS[3], text(tonumber(ARGV[4]) * 1.1))
return 1
"""
)

CHARGE: Final = (
    _HEAD
    + _PERIODS
    + _COUNTING
    + """
-- KEYS: leases, holds, counts, bucket. ARGV: now, me, span, -, segments, then pairs of period and amount: what was used
-- while nobody could ask. Of a calendar period that is over nothing is counted.
local span = tonumber(ARGV[3])
for n = 6, #ARGV, 2 do
  local period, amount = tonumber(ARGV[n]), tonumber(ARGV[n + 1])
  if span > 0 then
    charge_slide(KEYS[4], math.max(1, math.floor(span / segments)), period, amount)
  else
    local current, over_at = period_of(span)
    if current == period then charge_period(KEYS[4], period, over_at, amount) end
  end
end
return 1
"""
)
