-- Asks guichet about a request: its identity headers on 200, its refusal otherwise.
--
-- `http-request lua.guichet URL`; the URL pins tenant and audience. Only what a token check needs is
-- sent on, and only guichet's own headers come back. No answer is a refusal.

local SENT = { "authorization", "cookie", "origin", "access-control-request-method" }
local TAKEN = { "x-auth-subject", "x-auth-tenant", "x-auth-session", "x-auth-audience", "x-auth-scope" }
local TOLD = { "www-authenticate", "content-type", "retry-after", "cache-control" }

local function guichet(txn, url)
    local asked = txn.http:req_get_headers()
    local headers = {
        ["x-forwarded-method"] = { txn.f:method() },
        ["x-forwarded-for"] = { txn.f:src() },
    }
    for _, name in ipairs(SENT) do
        if asked[name] then headers[name] = { asked[name][0] } end
    end

    local answer = core.httpclient():get { url = url, headers = headers, timeout = 1000 }
    local status = answer and answer.status or 0
    if status == 200 then
        for _, name in ipairs(TAKEN) do
            local value = answer.headers[name]
            if value then txn.http:req_set_header(name, value[0]) end
        end
        return
    end

    local reply = txn:reply()
    -- No answer at all comes as 0 or as HAProxy's own 503 or 504.
    reply:set_status(status >= 400 and status or 503)
    for _, name in ipairs(TOLD) do
        local value = answer and answer.headers and answer.headers[name]
        if value then reply:add_header(name, value[0]) end
    end
    reply:set_body(answer and answer.body or "")
    txn:done(reply)
end

core.register_action("guichet", { "http-req" }, guichet, 1)
