-- The sweep finds devices that were not used for long.
CREATE INDEX devices_by_age ON devices (last_seen_at);
