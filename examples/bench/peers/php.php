<?php
// bench-app behind php-fpm
foreach ($_SERVER as $name => $value);
switch ($_SERVER['SCRIPT_NAME']) {
    case '/echo':
        copy('php://input', 'php://output');
        break;
    case '/big':
        echo str_pad('', 10 << 20, 'abcdefghijklmnopqrstuvwxyz');
        break;
    default:
        echo 'Hello, World!';
}
