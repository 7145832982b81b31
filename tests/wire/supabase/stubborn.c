/* A function that ends for no ERROR: what the gateway may meet behind realtime.send(). */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(stubborn);

Datum stubborn(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;

	(void) fcinfo;
	for (;;)
	{
		PG_TRY();
		{
			for (;;)
			{
				pg_usleep(1000);
				CHECK_FOR_INTERRUPTS();
			}
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
		}
		PG_END_TRY();
	}
}
