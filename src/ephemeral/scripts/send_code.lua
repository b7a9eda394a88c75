-- Books a send, or says why not. Twin of `CodeBook::send`.

local book = open_book()

-- A test identity's challenge is told by the version of its id (UUIDv8). Twin of `ChallengeId::is_test`.
local function is_test(id)
  return id:sub(15, 15) == '8'
end

local function serves(living)
  return living.credential == ask.credential and is_test(living.id) == is_test(ask.fresh)
end

local function refuse()
  local sends = book.lanes[ask.lane] and book.lanes[ask.lane].sends or {}
  local waited_for = not ask.credential
  if book.challenge then waited_for = serves(book.challenge) end
  local may_wait = waited_for or not ask.credential

  local silence = ask.lane == STRANGERS and book.silent_until or 0
  local hour = frees_at(sends, ask.resend.per_hour, HOUR) or 0
  local day = frees_at(sends, ask.resend.per_day, DAY) or 0
  local ceiling = math.max(silence, hour, day)
  local cooled = may_wait and sends[#sends] and sends[#sends] + ask.resend.cooldown or 0
  local wait = wait_until(math.max(ceiling, cooled))
  if cooled > now and waited_for and (ceiling == 0 or ask.credential) then
    return { Cooling = { challenge = book.challenge, wait = wait } }
  end
  if ceiling > 0 then return { Ceiling = wait } end
  return nil
end

local function judge()
  local first = book.sends[ask.operation]
  if first then return first.verdict end
  local refusal = refuse()
  if refusal then return refusal end
  local living = book.challenge
  if not living or not serves(living) or (living.tries[ask.lane] or 0) >= ask.tries then
    book.challenge =
      { id = ask.fresh, key_id = ask.key_id, length = ask.length, expires = now + ask.ttl, tries = {},
        credential = ask.credential }
  end
  local log = lane_log(book, ask.lane)
  log.sends[#log.sends + 1] = now
  local verdict = { Send = { challenge = book.challenge, sent_at = now } }
  book.sends[ask.operation] = { at = now, verdict = verdict }
  changed = true
  return verdict
end

return answer(book, judge())
