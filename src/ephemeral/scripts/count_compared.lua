-- Adds a node's tally of compared log-ins to its tenant's window and judges it. Twin of
-- `ephemeral::spray::SprayBook`; KEYS[2] estimates over how many accounts the failures were.

local window = math.floor(now / ask.window)
local book = read_book(KEYS[1]) or {}
if book.window ~= window then
  book = { window = window, attempts = 0, failures = 0, alarm = book.alarm }
  redis.call('DEL', KEYS[2])
end
if book.alarm and book.alarm <= now then book.alarm = nil end

book.attempts = book.attempts + ask.attempts
book.failures = book.failures + ask.failures
if #ask.accounts > 0 then
  redis.call('PFADD', KEYS[2], unpack(ask.accounts))
  redis.call('PEXPIRE', KEYS[2], 2 * ask.window)
end

local accounts = redis.call('PFCOUNT', KEYS[2])
local is_spray = book.failures > ask.most_failures
  and accounts > ask.most_accounts
  and book.failures * 100 > book.attempts * ask.percent
local newly = is_spray and not book.alarm
if is_spray then book.alarm = (window + 2) * ask.window end

write_book(KEYS[1], book, math.max((window + 1) * ask.window, book.alarm or 0))
return cjson.encode({ alarm = book.alarm and wait_until(book.alarm), newly = newly })
