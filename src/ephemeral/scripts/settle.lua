-- Ends an attempt with what became of it. Twin of `AttemptBook::settle`.

local book = open_book()
if not book then return cjson.encode('Void') end
sweep(book)

local function judge()
  local first = book.settlements[ask.operation]
  if first then return first.verdict end
  local lease = book.leases[ask.attempt]
  if not lease then return 'Void' end
  book.leases[ask.attempt] = nil
  changed = true
  local before = counter_of(book, lease.lane)
  if ask.outcome == 'Success' then
    local zero = { failures = 0, window_ends = 0, consecutive = 0, lock = counter_at(before, now).lock }
    put_counter(book, lease.lane, zero)
  elseif ask.outcome == 'Failure' then
    count_failure(book, lease.lane, ask.attempt, false, now)
  end
  local counter = counter_of(book, lease.lane)
  local verdict = {
    Settled = { counter = counter, version = book.version, changed = not same_counter(before, counter) },
  }
  book.settlements[ask.operation] = { at = now, verdict = verdict }
  return verdict
end

return answer(book, judge())
