/* bench-app with libfcgi, Debian's libfcgi-dev. examples/bench/run builds it with gcc and -lfcgi. */
#include <fcgiapp.h>
#include <stdlib.h>
#include <string.h>

#define BIG (10 << 20)

int main(void) {
    FCGX_Request request;
    char *big = NULL, buffer[65536];
    FCGX_Init();
    FCGX_InitRequest(&request, 0, 0);
    while (FCGX_Accept_r(&request) == 0) {
        volatile size_t read = 0;
        for (char **param = request.envp; *param; param++) read += strlen(*param);
        const char *script = FCGX_GetParam("SCRIPT_NAME", request.envp);
        if (script && !strcmp(script, "/echo")) {
            FCGX_FPrintF(request.out, "Content-Type: application/octet-stream\r\n\r\n");
            for (int len; (len = FCGX_GetStr(buffer, sizeof buffer, request.in)) > 0;) FCGX_PutStr(buffer, len, request.out);
        } else if (script && !strcmp(script, "/big")) {
            if (!big) {
                big = malloc(BIG);
                for (int i = 0; i < BIG; i++) big[i] = 'a' + i % 26;
            }
            FCGX_FPrintF(request.out, "Content-Type: text/plain\r\n\r\n");
            FCGX_PutStr(big, BIG, request.out);
        } else {
            FCGX_FPrintF(request.out, "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!");
        }
        FCGX_Finish_r(&request);
    }
    return 0;
}
