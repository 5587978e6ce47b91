# Starts a server, does to it what arrives on stdin, and outlives nobody: when stdin closes (the test
# process ended, in whichever way), the server is ended and its directory removed.
# Each word is answered with one line: a process id, or the exit status of what was done.
directory=$1 last_signal=$2
shift 2
child=
start() {
    "$@" </dev/null >>"$directory/log" 2>&1 &
    child=$!
}
while read -r word; do
    case $word in
        START) start "$@"; echo "$child" ;;
        # Until then the ended server is a zombie, so that its process id is nobody else's.
        WAIT) wait "$child"; child=; echo 0 ;;
        *) if [ -n "$child" ]; then kill -s "$word" "$child"; fi; echo "$?" ;;
    esac
done
if [ -n "$child" ]; then
    kill -s "$last_signal" "$child"
    kill -s CONT "$child"
    wait "$child"
fi
rm -rf "$directory"
