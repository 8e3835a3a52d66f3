# Read outcomes with redis-cli: $account_id and $submission_id are set.
redis-cli GET "checkpoint:result:$submission_id"          # poll
redis-cli SUBSCRIBE checkpoint:results                    # every final record
redis-cli SUBSCRIBE "checkpoint:results:$account_id"      # those of one account
redis-cli XREAD COUNT 10 STREAMS checkpoint:outcomes 0    # for those who may not miss one
