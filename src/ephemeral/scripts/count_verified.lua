-- A code to an unproven number of a region came back. Twin of `BudgetBook::verified`.

local sent = read_book(KEYS[1])
if not sent then return cjson.encode(false) end
add(sent, 0, 1)
write_spread(KEYS[1], sent)
return cjson.encode(true)
