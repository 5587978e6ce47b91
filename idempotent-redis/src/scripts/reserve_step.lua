-- ARGV: lease id, token, lease. As `renew`, but a full server refuses it: what a step has done by the
-- time that its result cannot be saved would be done again.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
if held.state == 'abandoned' then return answer('lost') end
local deadline = now + ARGV[3]
redis.call('HSET', key, 'until', text(deadline))
expire_after(held.retention and deadline + held.retention or LAST)
return answer('ok')
