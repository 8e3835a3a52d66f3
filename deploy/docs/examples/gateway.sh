# Submit a code over HTTP and wait for its outcome. Set $address (http://127.0.0.1:8600), $account_id,
# $code and $submission_id. printf is a builtin: the code appears in no process list.
printf '{"account_id": "%s", "provider": "LINKEDIN", "code": "%s"}' "$account_id" "$code" |
    curl -sS -H "X-API-KEY: $CHECKPOINT_API_KEYS" -H "Idempotency-Key: $submission_id" \
        -H "Content-Type: application/json" --data-binary @- "$address/v1/accounts/checkpoint"
