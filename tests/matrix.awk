# The tables of the web servers and of the applications that others wrote, from what the black-box tests print: a row for
# each scenario, a column for each server and transport or application, all from the tests' names,
# servers::SERVER::TRANSPORT::SCENARIO. What is not for a server has a dot.
#
#   awk -F '[ \t]' -f tests/matrix.awk SKIPS LOG

FILENAME == ARGV[1] { if ($1 == "skip") skipped[$2] = 1; next }
/^test servers::.* \.\.\. (ok|FAILED|ignored)/ { note($2, $4 == "FAILED" ? "FAIL" : $4) }
END {
    table("servers", 6)
    table("applications", 10)
}

function note(test, result,    part, which) {
    if (split(test, part, "::") != 4) return
    which = part[2] == "applications" ? "applications" : "servers"
    add(which " columns", part[2] SUBSEP part[3])
    add(which " rows", part[4])
    results[part[2], part[3], part[4]] = result == "ok" && test in skipped ? "skip" : result
}

# Adds a key to an ordered list of different ones, since libtest prints its tests in the order in which they end.
function add(list, key,    i) {
    if ((list, key) in known) return
    known[list, key] = 1
    for (i = ++count[list]; i > 1 && keys[list, i - 1] > key; i--) keys[list, i] = keys[list, i - 1]
    keys[list, i] = key
}

function table(which, width,    c, r, part, heads, names, line, result) {
    if (!count[which " columns"]) return
    for (c = 1; c <= count[which " columns"]; c++) {
        split(keys[which " columns", c], part, SUBSEP)
        heads = heads sprintf("%-*s", width, which == "servers" ? initials(part[2]) : part[2])
        if (!index(names, " " part[1] " ")) names = sprintf("%-*s ", (c - 1) * width, names) part[1] " "
    }
    printf "%-30s%s\n%-31s%s\n", which, which == "servers" ? names : "", "", heads
    for (r = 1; r <= count[which " rows"]; r++) {
        line = sprintf("%-31s", keys[which " rows", r])
        for (c = 1; c <= count[which " columns"]; c++) {
            result = results[keys[which " columns", c], keys[which " rows", r]]
            line = line sprintf("%-*s", width, result == "" ? "." : result)
        }
        print line
    }
    if (which == "servers")
        print "unix or TCP, kept, multiplexed or streamed, guarded by an authorizer, spawned by the server, by cgi-fcgi, as CGI"
    print ""
}

# kept_unix is ku.
function initials(name,    word, i, short) {
    for (i = split(name, word, "_"); i > 0; i--) short = substr(word[i], 1, 1) short
    return short
}
