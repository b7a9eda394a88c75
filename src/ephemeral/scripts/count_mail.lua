-- Counts a mail to one address, or says when the next fits. Twin of `MailBook::count`.

local HOUR = 3600000
local DAY = 24 * HOUR

local book = read_book(KEYS[1]) or { sends = {}, verdicts = {} }
book.sends = recent(book.sends, DAY)
forget_verdicts(book.verdicts)
if book.verdicts[ask.operation] then return cjson.encode('Allowed') end

local last = book.sends[#book.sends]
local cooled = last and last + ask.cooldown or 0
local frees = math.max(
  frees_at(book.sends, ask.per_hour, HOUR) or 0,
  frees_at(book.sends, ask.per_day, DAY) or 0,
  cooled > now and cooled or 0
)
if frees > 0 then return cjson.encode({ Refused = wait_until(frees) }) end

book.sends[#book.sends + 1] = now
book.verdicts[ask.operation] = { at = now }
write_book(KEYS[1], book, now + DAY)
return cjson.encode('Allowed')
