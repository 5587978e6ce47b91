-- ARGV: lease id, token, retention.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
local deadline = now + ARGV[3]
-- Nothing of the request is left: not its fingerprint, not its steps.
redis.call('DEL', key)
redis.call('HSET', key, 'state', 'freed', 'token', text(held.token), 'lease', ARGV[1],
  'until', text(deadline))
expire_after(deadline)
return answer('ok')
