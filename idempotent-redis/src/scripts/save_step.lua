-- ARGV: lease id, token, name, value.
local now = clock()
local held, refusal = owned(now)
if refusal then return refusal end
local field = 'step:' .. ARGV[3]
local saved = redis.call('HGET', key, field)
if not saved then
  -- `reserve_step` found room before the step ran.
  go_on_when_full()
  redis.call('HSET', key, field, ARGV[4])
elseif saved ~= ARGV[4] then
  return answer('conflict')
end
return answer('ok')
