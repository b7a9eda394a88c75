-- Asks all limits of one request, and takes from all or from none. Twin of
-- `domain::limits::bucket::judge`; the arithmetic is told there. A bucket is `level:moment`, kept
-- for as long as anything is in it.

local function read_bucket(text)
  if not text then return 0, now end
  local level, at = string.match(text, '^(%d+):(%d+)$')
  return tonumber(level), tonumber(at)
end

local texts = redis.call('MGET', unpack(KEYS))
local standings = {}
local admitted = true
-- Written by a clock that has gone back since: written anew, or it would drain nothing for so long.
local went_back = false

for index, check in ipairs(ask.checks) do
  local level, at = read_bucket(texts[index])
  local capacity = check.requests * check.window
  if at > now then went_back = true end
  local passed = math.max(0, now - at)
  level = math.max(0, math.min(level, capacity) - passed * check.requests)
  local over = level + check.window > capacity
  if over and check.enforced then admitted = false end
  standings[index] = { level = level, over = over }
end

for index, check in ipairs(ask.checks) do
  local standing = standings[index]
  local takes = admitted and not standing.over
  if takes then standing.level = standing.level + check.window end
  if takes or went_back then
    local life = math.ceil(standing.level / check.requests) + 1000
    redis.call('SET', KEYS[index], string.format('%.0f:%.0f', standing.level, now), 'PX', life)
  end
end

return cjson.encode({ admitted = admitted, standings = standings })
