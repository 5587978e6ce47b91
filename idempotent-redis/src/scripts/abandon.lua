-- ARGV: lease id, token.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
go_on_when_full()
redis.call('HSET', key, 'state', 'abandoned', 'until', text(now))
expire_after(held.retention and now + held.retention or LAST)
return answer('ok')
