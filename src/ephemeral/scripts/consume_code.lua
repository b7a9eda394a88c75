-- Ends a challenge that was answered rightly; true for exactly one caller. Twin of `CodeBook::consume`.

local book = open_book()

local function judge()
  local first = book.consumed[ask.operation]
  if first then return first.verdict end
  local log = book.lanes[ask.lane]
  if log then table.remove(log.wrong) end
  if ask.lane == STRANGERS then
    book.streak = 0
    book.silent_until = nil
  end
  local won = book.challenge ~= nil and book.challenge.id == ask.answered
  if won then book.challenge = nil end
  book.consumed[ask.operation] = { at = now, verdict = won }
  changed = true
  return won
end

return answer(book, judge())
