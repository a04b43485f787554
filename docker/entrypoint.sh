#!/bin/sh
# mobius web | worker | beat | any manage.py command. The process replaces this shell, so that it
# hears SIGTERM itself and drains.
set -eu
cd /app
command="${1:-web}"
[ "$#" -eq 0 ] || shift
case "$command" in
  web)
    exec python manage.py serve --host 0.0.0.0 --port "${PORT:-8000}" --workers "${WORKERS:-1}" "$@"
    ;;
  worker)
    exec celery --app mobius.celery worker --loglevel INFO --concurrency "${WORKERS:-1}" "$@"
    ;;
  beat)
    exec celery --app mobius.celery beat --loglevel INFO \
      --schedule "$MOBIUS_HOME/beat-schedule" --pidfile= "$@"
    ;;
  *)
    exec python manage.py "$command" "$@"
    ;;
esac
