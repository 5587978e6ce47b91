-- ARGV: lease id, token, lease.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
-- Its owner has given it up: a renewal that arrives late does not bring it back.
if held.state == 'abandoned' then return answer('lost') end
local deadline = now + ARGV[3]
go_on_when_full()
redis.call('HSET', key, 'until', text(deadline))
expire_after(held.retention and deadline + held.retention or LAST)
return answer('ok')
