#include "pipeline/shipment.h"

#include "base/alloc.h"

enum err shipment_new(struct block *take_block, _Atomic uint64_t *in_flight,
                      struct shipment **ret_shipment)
{
    struct shipment *shipment = mem_zalloc(1, sizeof(*shipment));
    if (!shipment)
        return ERR_NO_MEMORY;
    shipment->block = take_block;
    shipment->in_flight = in_flight;
    atomic_init(&shipment->references, 1);
    *ret_shipment = shipment;
    return ERR_OK;
}

void shipment_ref(struct shipment *shipment)
{
    atomic_fetch_add(&shipment->references, 1);
}

void shipment_unref(struct shipment *shipment)
{
    if (atomic_fetch_sub(&shipment->references, 1) != 1)
        return;
    atomic_fetch_sub(shipment->in_flight, shipment->in_flight_bytes);
    block_unref(shipment->block);
    mem_free(shipment->acks);
    mem_free(shipment);
}
