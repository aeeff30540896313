-- The sample shop of `pgdial demo`: small enough to load in seconds, large enough that its dashboard query is worth remembering.
-- Random, but with a seed: every run shows the same shop.
SET synchronous_commit = off;
SELECT setseed(0.42);

CREATE TABLE categories (
    id   int PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE products (
    id          int PRIMARY KEY,
    category_id int NOT NULL,
    name        text NOT NULL,
    price_cents int NOT NULL
);
CREATE TABLE customers (
    id      int PRIMARY KEY,
    name    text NOT NULL,
    country text NOT NULL
);
CREATE TABLE orders (
    id          int PRIMARY KEY,
    customer_id int NOT NULL,
    product_id  int NOT NULL,
    quantity    int NOT NULL,
    ordered_on  date NOT NULL
);

INSERT INTO categories
SELECT n, (ARRAY['Books', 'Garden', 'Kitchen', 'Lighting', 'Music', 'Office', 'Outdoor', 'Toys'])[n]
FROM generate_series(1, 8) AS n;

INSERT INTO products
SELECT n, 1 + n % 8, 'Product ' || n, (500 + random() * 19500)::int
FROM generate_series(1, 500) AS n;

INSERT INTO customers
SELECT n, 'Customer ' || n, (ARRAY['AT', 'BR', 'CA', 'DE', 'FR', 'IN', 'JP', 'KE', 'NO', 'US'])[1 + n % 10]
FROM generate_series(1, 20000) AS n;

INSERT INTO orders
SELECT n, 1 + (random() * 19999)::int, 1 + (random() * 499)::int, 1 + (random() * 4)::int,
       DATE '2025-01-01' + (random() * 364)::int
FROM generate_series(1, 300000) AS n;

CREATE INDEX ON orders (product_id);
ANALYZE;
