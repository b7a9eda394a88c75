-- Twin of `domain::budget::BudgetBook`, one key per spread, all of a tenant's in one slot. The
-- rules and their reasons are told there.
--
-- A bucket is { messages, what goes with them }; the second is money or a count and is written as
-- text, since JSON numbers of more than 14 digits lose their end here.

local FINE = 300000
local HOUR = 3600000
local DAY = 24 * HOUR

local function empty() return { fine = {}, coarse = {} } end

local function open_spread(key) return read_book(key) or empty() end

-- The tenant's own spread, with its stops and what was told within the hour.
local function open_tenant(key)
  local book = open_spread(key)
  book.stops = book.stops or {}
  book.told = book.told or {}
  for region, ends in pairs(book.stops) do
    if ends <= now then book.stops[region] = nil end
  end
  for what, at in pairs(book.told) do
    if at + HOUR <= now then book.told[what] = nil end
  end
  return book
end

local function bucket_of(at, width) return math.floor(at / width) end

local function sum(buckets, from)
  local first, second = 0, 0
  for index, bucket in pairs(buckets) do
    if tonumber(index) >= from then
      first = first + bucket[1]
      second = second + tonumber(bucket[2])
    end
  end
  return first, second
end

local function hour(spread) return sum(spread.fine, bucket_of(now - HOUR, FINE)) end

local function day(spread) return sum(spread.coarse, bucket_of(now - DAY, HOUR)) end

local function fresh(spread) return sum(spread.fine, bucket_of(now, FINE) - 1) end

local function is_over(spread, rates)
  return hour(spread) + 1 > rates.hour or day(spread) + 1 > rates.day
end

local function change(buckets, index, first, second)
  local key = string.format('%d', index)
  local bucket = buckets[key] or { 0, '0' }
  local with = math.max(tonumber(bucket[2]) + second, 0)
  buckets[key] = { math.max(bucket[1] + first, 0), string.format('%.0f', with) }
end

local function sweep(buckets, oldest)
  for index in pairs(buckets) do
    if tonumber(index) < oldest then buckets[index] = nil end
  end
end

local function add(spread, first, second)
  sweep(spread.fine, bucket_of(now - HOUR, FINE))
  sweep(spread.coarse, bucket_of(now - DAY, HOUR))
  change(spread.fine, bucket_of(now, FINE), first, second)
  change(spread.coarse, bucket_of(now, HOUR), first, second)
end

local function write_spread(key, spread) write_book(key, spread, now + DAY + HOUR) end

-- Where a message is counted: the keys come in this order, those of proven numbers end early.
local OPERATION, TENANT = KEYS[1], KEYS[2]
local CLIENT = ask.has_client and KEYS[3] or nil
local PREFIX = ask.is_unproven and KEYS[ask.has_client and 4 or 3] or nil
local REGION = ask.is_unproven and KEYS[ask.has_client and 5 or 4] or nil
