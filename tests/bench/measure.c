/* measure [-l] OUT COMMAND [ARGUMENT]...
 *
 * Runs the command and writes what it took as JSON to OUT: {"wall_s", "user_s", "sys_s",
 * "max_rss_bytes", "status"}.  With -l the command's standard output passes through here, and
 * "lines_s" holds when each of its lines came, counted from the start.  Ends with the command's
 * status.
 */
#define _GNU_SOURCE /* wait4 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LINES = 4096 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static pid_t start(char **command, const int *pipe_ends)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    if (pipe_ends) {
        dup2(pipe_ends[1], STDOUT_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
    }
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

/* When each line ended that comes out of fd, until nobody writes there; all goes on to stdout. */
static int read_lines(int fd, double began, double *at)
{
    char block[65536];
    int count = 0;
    for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;) {
        const double when = now() - began;
        for (const char *p = block; (p = memchr(p, '\n', (size_t)(block + n - p))); p++)
            if (count < MOST_LINES)
                at[count++] = when;
        fwrite(block, 1, (size_t)n, stdout);
    }
    fflush(stdout);
    return count;
}

static int report(const char *path, double wall, const struct rusage *use, int status,
                  const double *at, int lines)
{
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        return -1;
    }
    fprintf(f, "{\"wall_s\":%.6f,\"user_s\":%.6f,\"sys_s\":%.6f,\"max_rss_bytes\":%lld", wall,
            seconds(use->ru_utime), seconds(use->ru_stime), 1024 * (long long)use->ru_maxrss);
    fprintf(f, ",\"status\":%d", status);
    for (int i = 0; i < lines; i++)
        fprintf(f, "%s%.6f", i ? "," : ",\"lines_s\":[", at[i]);
    fprintf(f, "%s}\n", lines > 0 ? "]" : "");
    return fclose(f);
}

int main(int argc, char **argv)
{
    const bool lines = argc > 1 && strcmp(argv[1], "-l") == 0;
    char **rest = argv + 1 + lines;
    if (argc < 3 + lines) {
        fprintf(stderr, "usage: measure [-l] OUT COMMAND [ARGUMENT]...\n");
        return 2;
    }
    static double at[MOST_LINES];
    int ends[2], count = 0, how;
    struct rusage use;
    if (lines && pipe(ends) != 0) {
        perror("measure: pipe");
        return 1;
    }
    const double began = now();
    const pid_t child = start(rest + 1, lines ? ends : NULL);
    if (child < 0) {
        perror("measure: fork");
        return 1;
    }
    if (lines) {
        close(ends[1]);
        count = read_lines(ends[0], began, at);
    }
    if (wait4(child, &how, 0, &use) != child) {
        perror("measure: wait");
        return 1;
    }
    const double wall = now() - began;
    const int status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    if (report(rest[0], wall, &use, status, at, count) != 0)
        return 1;
    return status;
}
