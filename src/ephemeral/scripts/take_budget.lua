-- Takes a message from every ceiling, or from none. Twin of `BudgetBook::take`.

local first = redis.call('GET', OPERATION)
if first then return first end

local policy = ask.policy
local tenant = open_tenant(TENANT)
local client = CLIENT and open_spread(CLIENT)
local prefix = PREFIX and open_spread(PREFIX)
local region = REGION and open_spread(REGION)

local function over()
  local hour_messages, hour_money = hour(tenant)
  local day_messages, day_money = day(tenant)
  if hour_messages + 1 > policy.hour.messages or day_messages + 1 > policy.day.messages then
    return 'messages'
  end
  if hour_money + ask.cost > policy.hour.money or day_money + ask.cost > policy.day.money then
    return 'money'
  end
  if client and is_over(client, policy.client) then return 'client' end
  if prefix and is_over(prefix, policy.prefix) then return 'prefix' end
  return nil
end

local function too_few(sends, verified, after)
  local judged = math.max(sends - fresh(region), 0)
  return judged >= after and verified * 100 < policy.ratio.percent * judged
end

-- Whether sending to the region is stopped, and if so, whether it was just now.
local function stop()
  if tenant.stops[ask.region] then return true, false end
  local hour_sends, hour_verified = hour(region)
  local day_sends, day_verified = day(region)
  if
    not too_few(hour_sends, hour_verified, policy.ratio.hour)
    and not too_few(day_sends, day_verified, policy.ratio.day)
  then
    return false, false
  end
  region = empty()
  redis.call('DEL', REGION)
  tenant.stops[ask.region] = now + policy.ratio.pause
  return true, true
end

local function reaches()
  local by = ask.withheld or over()
  if by then
    local about = by .. ':' .. ask.region
    local is_news = not tenant.told[about]
    if is_news then tenant.told[about] = now end
    return { by = by, tell = is_news }
  end
  if not region then return nil end
  local stopped, newly = stop()
  if not stopped then return nil end
  if newly then tenant.told['ratio:' .. ask.region] = now end
  return { by = 'ratio', tell = newly }
end

local reached = reaches()
local taken = not reached or not (ask.withheld or policy.enforced)

local function count(key, spread)
  if spread then
    add(spread, 1, 0)
    write_spread(key, spread)
  end
end

if taken then
  add(tenant, 1, ask.cost)
  count(CLIENT, client)
  count(PREFIX, prefix)
  count(REGION, region)
end
-- A refusal that tells nothing new leaves no trace: refusing must stay cheap.
if taken or reached.tell then write_spread(TENANT, tenant) end
local verdict = cjson.encode({ taken = taken, reached = reached, at = now })
redis.call('SET', OPERATION, verdict, 'PX', ask.memory)
return verdict
