-- Takes a grant: one caller of N gets it.

local text = redis.call('GETDEL', KEYS[1])
local grant = text and cjson.decode(text)
if not grant or grant.expires <= now then return cjson.encode(cjson.null) end
return cjson.encode(grant.challenge)
