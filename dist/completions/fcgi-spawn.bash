_fcgi_spawn() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} kind i
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} = -- ]]; then
            compopt -o default
            COMPREPLY=()
            return
        fi
    done
    case $before in
    -s|--socket) kind=(-f) ;;
    -p|--port) kind=(-W '') ;;
    -a|--address) kind=(-W '') ;;
    -b|--backlog) kind=(-W '') ;;
    -M|--mode) kind=(-W '') ;;
    -U|--socket-user) kind=(-u) ;;
    -G|--socket-group) kind=(-g) ;;
    -f|--command) kind=(-c) ;;
    -d|--directory) kind=(-d) ;;
    -C|--php-children) kind=(-W '') ;;
    -u|--user) kind=(-u) ;;
    -g|--group) kind=(-g) ;;
    -c|--chroot) kind=(-d) ;;
    -F|--workers) kind=(-W '') ;;
    -P|--pid-file) kind=(-f) ;;
    --min-server-life) kind=(-W '') ;;
    --restart-delay) kind=(-W '') ;;
    --backoff-after) kind=(-W '') ;;
    --max-backoff) kind=(-W '') ;;
    --give-up) kind=(-W '') ;;
    --stop-signal) kind=(-W '') ;;
    --stop-timeout) kind=(-W '') ;;
    --drain) kind=(-W '') ;;
    --ready-after) kind=(-W '') ;;
    --canary) kind=(-W '') ;;
    --watch) kind=(-f) ;;
    --max-age) kind=(-W '') ;;
    --max-rss) kind=(-W '') ;;
    --idle) kind=(-W '') ;;
    --log) kind=(-f) ;;
    --status) kind=(-f) ;;
    --ready-fd) kind=(-W '') ;;
    --heartbeat) kind=(-W '') ;;
    --completions) kind=(-W 'bash zsh fish') ;;
    *) if [[ $word = -* ]]; then kind=(-W '-s --socket -p --port -a --address -b --backlog -M --mode -U --socket-user -G --socket-group --mkdir -f --command -d --directory -C --php-children -u --user -g --group -c --chroot -S --socket-outside -F --workers -P --pid-file -n --foreground --once --supervise --min-server-life --restart-delay --backoff-after --max-backoff --give-up --stop-signal --stop-timeout --drain --ready-after --canary --auto-update --watch --max-age --max-rss --on-demand --idle --json --log --status --ready-fd --heartbeat --check --reload --completions -v --version -h -? --help'); else kind=(-f); fi ;;
    esac
    mapfile -t COMPREPLY < <(compgen "${kind[@]}" -- "$word")
}
complete -o filenames -F _fcgi_spawn fcgi-spawn spawn-fcgi
