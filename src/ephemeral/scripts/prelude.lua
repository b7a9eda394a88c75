-- Words every script shares. One call is: read the book, judge, write it back if it changed.
-- ARGV[1] is a JSON object; its `shift` moves the server's clock and is zero outside tests.

local function without_nulls(value)
  if type(value) ~= 'table' then return value end
  for key, inner in pairs(value) do
    if inner == cjson.null then value[key] = nil else without_nulls(inner) end
  end
  return value
end

local ask = without_nulls(cjson.decode(ARGV[1]))

local function read_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ask.shift
end

local now = read_clock()

local function read_book(key)
  local text = redis.call('GET', key)
  return text and cjson.decode(text) or nil
end

-- Expiry is judged in the scripts; the TTL only sweeps, a while after nothing is worth keeping.
local function write_book(key, book, keep_until)
  local life = math.max(keep_until - now, ask.memory) + ask.memory
  redis.call('SET', key, cjson.encode(book), 'PX', life)
end

local function forget_verdicts(verdicts)
  for operation, first in pairs(verdicts) do
    if first.at + ask.memory <= now then verdicts[operation] = nil end
  end
end

local function latest_verdict(verdicts, latest)
  for _, first in pairs(verdicts) do
    latest = math.max(latest, first.at + ask.memory)
  end
  return latest
end

-- Twin of `domain::time::Wait`: callers have other clocks.
local function wait_until(moment)
  return { at = now, ['until'] = moment }
end

-- The moments of a log within `window` of now, oldest first.
local function recent(log, window)
  local kept = {}
  for _, at in ipairs(log) do
    if at + window > now then kept[#kept + 1] = at end
  end
  return kept
end

-- Twin of `domain::otp::frees_at`.
local function frees_at(log, most, window)
  local kept = recent(log, window)
  local first = kept[#kept - most + 1]
  if #kept >= most and first then return first + window end
  return nil
end
