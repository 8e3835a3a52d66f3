# Submit a code with redis-cli: $account_id, $code and $submission_id are set.
body=$(printf '[[], {"account_id": "%s", "provider": "LINKEDIN", "code": "%s"}, {}]' \
    "$account_id" "$code" | base64 | tr -d '\n')
printf '{"headers": {"lang": "sh", "task": "checkpoint.solve", "id": "%s"},
    "content-type": "application/json", "content-encoding": "utf-8", "body": "%s",
    "properties": {"correlation_id": "%s", "delivery_tag": "%s", "body_encoding": "base64",
    "delivery_info": {"exchange": "", "routing_key": "checkpoint"}}}' \
    "$submission_id" "$body" "$submission_id" "$submission_id" |
    redis-cli -x LPUSH checkpoint
