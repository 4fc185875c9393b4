<?php
// For php-cgi. The web server has to say where this file is: SCRIPT_FILENAME.
//
// In the root of a clone, after `cargo build --release`:
//   $ target/release/fcgi-spawn -s /tmp/php.sock -M 666 -P /tmp/php.pid -F 4 -- php-cgi
//   $ /usr/sbin/nginx -p "$PWD" -c examples/servers/quickstart.conf -e /tmp/quickstart.log
//   $ curl 'http://127.0.0.1:8081/hello.php?name=PHP'           # Hello, PHP
// At the end:
//   $ kill $(cat /tmp/php.pid) $(cat /tmp/quickstart.pid)
header('Content-Type: text/plain');

if (isset($_GET['log'])) {
    error_log($_GET['log']);                    // the web server's error log, unless php.ini names another
}
if (isset($_GET['count'])) {
    session_start();
    $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
    echo $_SESSION['count'], "\n";
} elseif (isset($_FILES['file'])) {
    $path = $_FILES['file']['tmp_name'];
    echo filesize($path), ' ', hash_file('sha256', $path), "\n";
} elseif ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $body = file_get_contents('php://input');
    echo strlen($body), ' ', hash('sha256', $body), "\n";
} else {
    echo 'Hello, ', $_GET['name'] ?? 'World', "\n";
}
