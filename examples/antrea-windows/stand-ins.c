/* Stands for each of the programs in the image: says its name and ends. */
#include <stdio.h>

int main(void)
{
    puts(PROGRAM);
    return 0;
}
