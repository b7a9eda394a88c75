-- Takes a place for one attempt, or says why not. Twin of `AttemptBook::reserve`.

local book = open_book()
if not book then return cjson.encode('Cold') end
sweep(book)

local function judge()
  local first = book.admissions[ask.operation]
  if first then return first.verdict end
  local untold = lapsed(book)
  if untold then return { Lapsed = untold } end
  local counter = counter_at(counter_of(book, ask.lane), now)
  local limit = ask.policy.hard_limit
  if counter.lock then return { Locked = counter.lock } end
  if limit and counter.consecutive >= limit then return 'Stopped' end
  local flying = in_flight(book, ask.lane)
  if counter.failures + flying >= ask.policy.threshold then return 'Busy' end
  if limit and counter.consecutive + flying >= limit then return 'Busy' end
  book.leases[ask.attempt] = { lane = ask.lane, expires = now + ask.lease }
  book.admissions[ask.operation] = { at = now, verdict = 'Admitted' }
  changed = true
  return 'Admitted'
end

return answer(book, { Decided = judge() })
