-- The sessions of one tenant that ended and may still have living access tokens.

local living = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES')
local marks = {}
for position = 1, #living, 2 do
  marks[living[position]] = tonumber(living[position + 1])
end
return cjson.encode(marks)
