-- Counts a guess, then says what to compare it with. Twin of `CodeBook::guess`.

local book = open_book()

local function count_streak()
  book.streak = book.streak + 1
  if ask.streak and book.streak >= ask.streak then
    book.streak = 0
    book.silent_until = now + ask.silence
  end
end

local function judge()
  local first = book.tries[ask.operation]
  if first then return first.verdict end
  local wrong = book.lanes[ask.lane] and book.lanes[ask.lane].wrong or {}
  if ask.lane == STRANGERS and ask.wrong_per_day then
    local frees = frees_at(wrong, ask.wrong_per_day, DAY)
    if frees then return { Ceiling = wait_until(frees) } end
  end
  local challenge = book.challenge
  if not challenge or (ask.wanted and ask.wanted ~= challenge.id) then return 'NoChallenge' end
  if challenge.credential ~= ask.credential then return 'NoChallenge' end
  local taken = challenge.tries[ask.lane] or 0
  if taken >= ask.tries then return 'NoChallenge' end
  challenge.tries[ask.lane] = taken + 1
  local log = lane_log(book, ask.lane)
  log.wrong[#log.wrong + 1] = now
  if ask.lane == STRANGERS then count_streak() end
  local verdict = { Compare = challenge }
  book.tries[ask.operation] = { at = now, verdict = verdict }
  changed = true
  return verdict
end

return answer(book, judge())
