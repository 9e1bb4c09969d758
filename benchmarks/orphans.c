/* orphans COUNT SECONDS: COUNT orphans as fast as they can be made, each SECONDS. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 10000;
    int seconds = argc > 2 ? atoi(argv[2]) : 5;
    for (;;) {
        for (int i = 0; i < count; i++) {
            pid_t parent = fork();
            if (parent == 0) {
                fork(); /* both end: the child of the child is an orphan */
                _exit(0);
            }
            waitpid(parent, NULL, 0);
        }
        sleep(seconds);
    }
}
