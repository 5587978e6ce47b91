-- ARGV: lease id, token, retention.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
local deadline = now + ARGV[3]
redis.call('HDEL', key, 'retention')
redis.call('HSET', key, 'state', 'released', 'until', text(deadline))
expire_after(deadline)
return answer('ok')
