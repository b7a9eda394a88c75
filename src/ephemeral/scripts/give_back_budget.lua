-- Gives a taken message back: it could not be written. Twin of `BudgetBook::give_back`.

local first = redis.call('GET', OPERATION)
if not first then return cjson.encode(false) end
redis.call('DEL', OPERATION)
local verdict = cjson.decode(first)
if not verdict.taken then return cjson.encode(false) end

for position = 2, #KEYS do
  local spread = read_book(KEYS[position])
  if spread then
    local money = KEYS[position] == TENANT and ask.cost or 0
    change(spread.fine, bucket_of(verdict.at, FINE), -1, -money)
    change(spread.coarse, bucket_of(verdict.at, HOUR), -1, -money)
    write_spread(KEYS[position], spread)
  end
end
return cjson.encode(true)
