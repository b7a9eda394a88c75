-- Marks a session as ended until its last access token has run out, and tells every node.

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], ask['until'], ask.session)
local latest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(latest[2]) - now, 0) + ask.memory)
redis.call('PUBLISH', ask.channel, ask.notice)
return cjson.encode(true)
