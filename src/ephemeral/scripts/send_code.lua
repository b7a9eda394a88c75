-- Books a send, or says why not. Twin of `CodeBook::send`.

local book = open_book()

local function stands(challenge)
  return challenge and challenge.credential == ask.credential
end

local function refuse()
  if ask.lane == STRANGERS and book.silent_until then
    return { Ceiling = wait_until(book.silent_until) }
  end
  local sends = book.lanes[ask.lane] and book.lanes[ask.lane].sends or {}
  local hour = frees_at(sends, ask.resend.per_hour, HOUR)
  local day = frees_at(sends, ask.resend.per_day, DAY)
  if hour or day then return { Ceiling = wait_until(math.max(hour or 0, day or 0)) } end
  local cooled = sends[#sends] and sends[#sends] + ask.resend.cooldown
  local waited_for = not ask.credential
  if book.challenge then waited_for = stands(book.challenge) end
  if cooled and cooled > now and waited_for then
    return { Cooling = { challenge = book.challenge, wait = wait_until(cooled) } }
  end
  return nil
end

local function judge()
  local first = book.sends[ask.operation]
  if first then return first.verdict end
  local refusal = refuse()
  if refusal then return refusal end
  local living = book.challenge
  if not stands(living) or (living.tries[ask.lane] or 0) >= ask.tries then
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
