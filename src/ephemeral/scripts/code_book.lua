-- Twin of `domain::otp::CodeBook`. The rules and their reasons are told there.

local HOUR = 3600000
local DAY = 24 * HOUR
local STRANGERS = 's'

local changed = false

local function lane_log(book, lane)
  book.lanes[lane] = book.lanes[lane] or { sends = {}, wrong = {} }
  return book.lanes[lane]
end

local function sweep(book)
  if book.challenge and book.challenge.expires <= now then book.challenge = nil end
  if book.silent_until and book.silent_until <= now then book.silent_until = nil end
  for lane, log in pairs(book.lanes) do
    log.sends = recent(log.sends, DAY)
    log.wrong = recent(log.wrong, DAY)
    if #log.sends == 0 and #log.wrong == 0 then book.lanes[lane] = nil end
  end
  local strangers = book.lanes[STRANGERS]
  if not strangers or #strangers.wrong == 0 then book.streak = 0 end
  forget_verdicts(book.sends)
  forget_verdicts(book.tries)
  forget_verdicts(book.consumed)
end

local function open_book()
  local book = read_book(KEYS[1]) or { lanes = {}, streak = 0, sends = {}, tries = {}, consumed = {} }
  sweep(book)
  return book
end

local function keep_until(book)
  local latest = latest_verdict(book.sends, latest_verdict(book.tries, latest_verdict(book.consumed, now)))
  latest = math.max(latest, book.challenge and book.challenge.expires or 0, book.silent_until or 0)
  for _, log in pairs(book.lanes) do
    latest = math.max(latest, (log.sends[#log.sends] or 0) + DAY, (log.wrong[#log.wrong] or 0) + DAY)
  end
  return latest
end

-- Writes the book if anything in it moved, then answers.
local function answer(book, verdict)
  if changed then write_book(KEYS[1], book, keep_until(book)) end
  return cjson.encode(verdict)
end
