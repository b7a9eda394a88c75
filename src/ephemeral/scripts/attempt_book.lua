-- Twin of `domain::lockout::AttemptBook`. The rules and their reasons are told there.

local LONGEST_WINDOW = 86400000

local changed = false

-- The book under the current epoch.
local function open_book()
  local book = read_book(KEYS[1])
  if not book or book.epoch ~= ask.epoch then return nil end
  -- Written by a node that knew no such member.
  book.lapsed = book.lapsed or {}
  return book
end

local function counter_of(book, lane)
  return book.counters[lane] or { failures = 0, window_ends = 0, consecutive = 0 }
end

local function counter_at(counter, moment)
  local held = {
    failures = counter.failures,
    window_ends = counter.window_ends,
    consecutive = counter.consecutive,
    lock = counter.lock,
  }
  if held.lock and held.lock['until'] <= moment then
    held.lock = nil
    held.failures = 0
  end
  if not held.lock and held.window_ends <= moment then held.failures = 0 end
  return held
end

local function same_counter(one, other)
  if one.failures ~= other.failures or one.window_ends ~= other.window_ends then return false end
  if one.consecutive ~= other.consecutive then return false end
  if not one.lock or not other.lock then return one.lock == other.lock end
  return one.lock.id == other.lock.id
    and one.lock['until'] == other.lock['until']
    and one.lock.lapsed == other.lock.lapsed
end

local function put_counter(book, lane, counter)
  local before = counter_of(book, lane)
  local clean = counter.failures == 0 and counter.consecutive == 0 and not counter.lock
  book.counters[lane] = not clean and counter or nil
  if not same_counter(before, counter) then book.version = book.version + 1 end
  changed = true
end

local function count_failure(book, lane, attempt, lapsed, moment)
  local counter = counter_at(counter_of(book, lane), moment)
  counter.window_ends = moment + ask.policy.window
  counter.failures = counter.failures + 1
  counter.consecutive = counter.consecutive + 1
  if not counter.lock and counter.failures >= ask.policy.threshold then
    counter.lock = { id = attempt, ['until'] = moment + ask.policy.duration, lapsed = lapsed }
  end
  put_counter(book, lane, counter)
end

local function sweep(book)
  local expired = {}
  for id, lease in pairs(book.leases) do
    if lease.expires <= now then expired[#expired + 1] = { id = id, lane = lease.lane, expires = lease.expires } end
  end
  table.sort(expired, function(one, other)
    if one.expires ~= other.expires then return one.expires < other.expires end
    return one.id < other.id
  end)
  for _, lease in ipairs(expired) do
    book.leases[lease.id] = nil
    count_failure(book, lease.lane, lease.id, true, lease.expires)
    book.lapsed[lease.lane] = book.version
  end
  forget_verdicts(book.admissions)
  forget_verdicts(book.settlements)
end

-- What storage is to be told before anything is admitted, if there is anything.
local function lapsed(book)
  if not next(book.lapsed) then return nil end
  local counters = {}
  for lane in pairs(book.lapsed) do
    counters[lane] = counter_of(book, lane)
  end
  return { counters = counters, version = book.version }
end

local function in_flight(book, lane)
  local count = 0
  for _, lease in pairs(book.leases) do
    if lease.lane == lane then count = count + 1 end
  end
  return count
end

local function keep_until(book)
  local latest = latest_verdict(book.admissions, latest_verdict(book.settlements, now))
  for lane, counter in pairs(book.counters) do
    local untold = book.lapsed[lane] and LONGEST_WINDOW or 0
    latest = math.max(latest, math.max(counter.window_ends, counter.lock and counter.lock['until'] or 0) + untold)
  end
  for _, lease in pairs(book.leases) do
    latest = math.max(latest, lease.expires + LONGEST_WINDOW)
  end
  return latest
end

-- Writes the book if anything in it moved, then answers.
local function answer(book, verdict)
  if changed then write_book(KEYS[1], book, keep_until(book)) end
  return cjson.encode(verdict)
end
