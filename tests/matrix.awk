# The table of the web servers, from what the black-box tests print: a row for each scenario, a column for each server
# and transport, all from the tests' names, servers::SERVER::TRANSPORT::SCENARIO. A scenario that is not for a server
# has a dot.
#
#   awk -f tests/matrix.awk SKIPS LOG

function cell(test, result,    part) {
    if (split(test, part, "::") != 4 || part[1] != "servers") return
    if (!((part[2], part[3]) in known)) {
        known[part[2], part[3]] = 1
        columns[++width] = part[2] SUBSEP part[3]
    }
    if (!(part[4] in seen)) {
        seen[part[4]] = 1
        rows[++height] = part[4]
    }
    if (result == "ok" && test in skipped) result = "skip"
    results[part[2], part[3], part[4]] = result
}

FILENAME == ARGV[1] { if ($1 == "skip") skipped[$2] = 1; next }
/^test servers::.* \.\.\. (ok|FAILED|ignored)/ { cell($2, $4 == "FAILED" ? "FAIL" : $4) }

# Puts keys in order, as libtest prints them in the order in which they end.
function sort(keys, count,    i, j, key) {
    for (i = 2; i <= count; i++) {
        key = keys[i]
        for (j = i - 1; j > 0 && keys[j] > key; j--) keys[j + 1] = keys[j]
        keys[j + 1] = key
    }
}

END {
    if (!width) exit
    sort(columns, width)
    sort(rows, height)
    for (c = 1; c <= width; c++) {
        split(columns[c], part, SUBSEP)
        # kept_unix is ku.
        short = ""
        for (i = split(part[2], word, "_"); i > 0; i--) short = substr(word[i], 1, 1) short
        shorts = shorts sprintf("%-6s", short)
        if (part[1] != group) {
            printed = printed sprintf("%*s", (c - 1) * 6 - length(printed), "")
            group = part[1]
            printed = printed group " "
        }
    }
    printf "%-27s%s\n%-27s%s\n", "", printed, "", shorts
    for (r = 1; r <= height; r++) {
        line = sprintf("%-27s", rows[r])
        for (c = 1; c <= width; c++) {
            result = results[columns[c], rows[r]]
            line = line sprintf("%-6s", result == "" ? "." : result)
        }
        print line
    }
    print "u: unix socket, t: TCP, k: kept connections, s: the server starts the application"
}
