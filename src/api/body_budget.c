#include "api/body_budget.h"

bool body_budget_take(struct body_budget *budget, size_t bytes)
{
    if (!budget)
        return true;
    if (atomic_fetch_add(&budget->used_bytes, bytes) + bytes <= budget->max_bytes)
        return true;
    atomic_fetch_sub(&budget->used_bytes, bytes);
    return false;
}

void body_budget_give(struct body_budget *budget, size_t bytes)
{
    if (budget)
        atomic_fetch_sub(&budget->used_bytes, bytes);
}
