-- Booking system of the Hotel Kronhof, schema version 14.
-- Money is kept in cents; times are in UTC.

CREATE TABLE guest (
    guest_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    full_name    text NOT NULL,
    email        text UNIQUE,
    passport_no  text,                         -- deleted 30 days after departure by the job purge_passports
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE room (
    room_no      integer PRIMARY KEY,
    floor        integer NOT NULL CHECK (floor BETWEEN 0 AND 5),
    beds         integer NOT NULL CHECK (beds BETWEEN 1 AND 4),
    has_balcony  boolean NOT NULL DEFAULT false,
    night_cents  integer NOT NULL
);

CREATE TABLE booking (
    booking_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guest_id     bigint NOT NULL REFERENCES guest,
    room_no      integer NOT NULL REFERENCES room,
    stay         daterange NOT NULL,
    state        text NOT NULL DEFAULT 'offered' CHECK (state IN ('offered', 'confirmed', 'arrived', 'left', 'cancelled')),
    -- No room is given away twice: two live bookings of a room may not overlap.
    CONSTRAINT no_double_booking EXCLUDE USING gist (room_no WITH =, stay WITH &&) WHERE (state <> 'cancelled')
);

-- Offers that nobody confirms are cancelled after 72 hours.
CREATE FUNCTION expire_offers() RETURNS integer LANGUAGE sql AS $$
    WITH gone AS (
        UPDATE booking SET state = 'cancelled'
        WHERE state = 'offered' AND lower(stay) - current_date < 365
        RETURNING 1)
    SELECT count(*)::integer FROM gone
$$;
