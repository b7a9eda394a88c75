-- Leaves a grant to be taken once. Its end is judged when it is taken.

redis.call('SET', KEYS[1], cjson.encode({ challenge = ask.challenge, expires = now + ask.ttl }), 'PX', ask.ttl + ask.memory)
return cjson.encode(true)
