#!/bin/sh
# Make the ACL file of a Redis from users.acl: comments go, passwords come as SHA-256.
#
# Passwords are read from the environment, CHECKPOINT_ACL_<ROLE> (WORKER, BACKEND, OPERATOR, READER,
# SESSION, PRODUCER, FLOWER), or from the file that CHECKPOINT_ACL_<ROLE>_FILE names. A role without
# one stays off. CHECKPOINT_PREFIX and CHECKPOINT_ACL_DB (0) are those of the deployment.
# Nothing of it is an argument: those show in ps.
#
#   CHECKPOINT_ACL_WORKER=… CHECKPOINT_ACL_BACKEND=… deploy/redis/acl.sh > users.acl
#
# `session PROVIDER ACCOUNT` prints one line instead: the user checkpoint-session.PROVIDER.ACCOUNT, who
# has the rights of checkpoint-session for the names of that one account. Its password is
# CHECKPOINT_ACL_SESSION.
#
#   CHECKPOINT_ACL_SESSION=… deploy/redis/acl.sh session LINKEDIN acc_1 >> users.acl
set -eu
umask 077

prefix=${CHECKPOINT_PREFIX:-checkpoint}
db=${CHECKPOINT_ACL_DB:-0}
case $prefix in *[!A-Za-z0-9_.{}-]*) echo "acl.sh: CHECKPOINT_PREFIX has odd characters" >&2; exit 2 ;; esac
case $db in '' | *[!0-9]*) echo "acl.sh: CHECKPOINT_ACL_DB is a number" >&2; exit 2 ;; esac

only=
case $# in
0) ;;
3)
  [ "$1" = session ] || { echo "usage: acl.sh [session PROVIDER ACCOUNT]" >&2; exit 2; }
  case $2 in '' | *[!A-Z0-9_]*) echo "acl.sh: PROVIDER is a name such as LINKEDIN" >&2; exit 2 ;; esac
  case $3 in
  '' | *[!A-Za-z0-9_.:@+-]*)
    echo "acl.sh: ACCOUNT may hold A-Z a-z 0-9 _ . : @ + - here; ACL SETUSER takes others" >&2
    exit 2
    ;;
  esac
  if [ -z "${CHECKPOINT_ACL_SESSION:-}${CHECKPOINT_ACL_SESSION_FILE:-}" ]; then
    echo "acl.sh: CHECKPOINT_ACL_SESSION is the password of this user: openssl rand -hex 24" >&2
    exit 2
  fi
  only="/^user checkpoint-session /!d
s/^user checkpoint-session /user checkpoint-session.$2.$3 /
s|~$prefix:session:\\*|~$prefix:session:$2:$3|
s|&$prefix:session:\\*|\\&$prefix:session:$2:$3:requests \\&$prefix:session:replies:*|"
  ;;
*) echo "usage: acl.sh [session PROVIDER ACCOUNT]" >&2; exit 2 ;;
esac

edits="/^#/d; /^\$/d
s/~checkpoint/~$prefix/g; s/&checkpoint/\\&$prefix/g; s/\\.checkpoint /.$prefix /g
s|&/0\\.|\\&/$db.|g
$only"
# Another prefix has its own of Celery's names as well (tasks/storage/keys.py).
if [ "$prefix" != checkpoint ]; then
  edits="$edits
s/\\(celery\\.pidbox\\|celeryev\\|celery\\*\\)/$prefix.\\1/g"
fi
# In cluster mode, where a prefix has a hash tag, a client asks which node has its keys.
case $prefix in *'{'*)
  edits="$edits
s/binding_deadlines /binding_deadlines.$prefix /
/^user checkpoint-/s/\$/ +cluster|slots/"
  ;;
esac
for role in WORKER BACKEND OPERATOR READER SESSION PRODUCER FLOWER; do
  eval "password=\${CHECKPOINT_ACL_$role:-} file=\${CHECKPOINT_ACL_${role}_FILE:-}"
  if [ -z "$password" ] && [ -n "$file" ]; then
    password=$(cat "$file")
  fi
  if [ -z "$password" ]; then
    edits="$edits
s/ on #@$role@/ off/"
  elif [ ${#password} -lt 16 ]; then
    echo "acl.sh: CHECKPOINT_ACL_$role has 16 characters or more: openssl rand -hex 24" >&2
    exit 2
  else
    hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    edits="$edits
s/#@$role@/#$hash/"
  fi
done
sed -e "$edits" "$(dirname "$0")/users.acl"
