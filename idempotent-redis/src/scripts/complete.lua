-- ARGV: lease id, token, fingerprint, ttl, metadata, body.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
local deadline = now + ARGV[4]
-- The steps go with the lease; a full server takes the record because something was removed first.
redis.call('DEL', key)
redis.call('HSET', key, 'state', 'completed', 'fingerprint', ARGV[3], 'attempt', text(held.attempt),
  'token', ARGV[2], 'until', text(deadline), 'metadata', ARGV[5], 'body', ARGV[6],
  'operation', held.operation, 'ttl', ARGV[4])
expire_after(deadline)
return answer('ok')
