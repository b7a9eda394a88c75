-- Reads the store's epoch, or sets it once.

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ask.proposed
  redis.call('SET', KEYS[1], epoch)
end
return cjson.encode(epoch)
