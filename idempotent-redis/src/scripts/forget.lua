-- ARGV: whether to force (0 or 1).
local now = clock()
local held, refusal = read()
if refusal then
  if ARGV[1] ~= '1' or refusal[2] ~= 'corrupt' then return refusal end
  redis.call('DEL', key)
  return answer('ok', '1')
end
if not held then return answer('ok', '0') end
if ARGV[1] ~= '1' and held.state == 'leased' and now < held.deadline then return answer('still_leased') end
redis.call('DEL', key)
-- A clock that was set back has not come to the token yet: it must not be granted again.
if held.token >= now then
  redis.call('HSET', key, 'state', 'forgotten', 'token', text(held.token), 'until', text(held.token))
  expire_after(held.token)
end
return answer('ok', is_gone(held, now) and '0' or '1')
